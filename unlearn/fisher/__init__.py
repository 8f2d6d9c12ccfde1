"""The diagonal of the Fisher information, of generators and of classifiers."""
