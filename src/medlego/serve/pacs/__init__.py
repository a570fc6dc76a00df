"""A picture archive as a DICOMweb client: its images answered, the results stored beside them."""
