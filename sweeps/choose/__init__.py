"""Choose among rows on validation data, compare with intervals, promote into the gallery."""
