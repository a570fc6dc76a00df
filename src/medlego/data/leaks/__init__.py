"""What images of different splits, data sets and earlier training share."""
