"""An HTTP service over one generalist's directory."""
