"""Parts that only generators need: judges, label critic, targets, regularisers, latent space."""
