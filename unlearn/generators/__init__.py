"""What only generators need: their judges, training critic, targets, regularisers and latent space."""
