"""The science of amnesia: tensors in, tensors out. No Ray, no Parquet, no files it was not handed."""
