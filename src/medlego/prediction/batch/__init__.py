"""Many images: any number of files into one table of answers, whatever ends the job meanwhile."""
