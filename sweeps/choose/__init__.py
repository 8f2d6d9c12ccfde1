"""From rows to a choice: on validation data, with intervals; promotion into the gallery."""
