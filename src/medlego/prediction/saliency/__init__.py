"""Evidence maps of what an answer rests on, laid over the images."""
