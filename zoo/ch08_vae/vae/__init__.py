"""A variational autoencoder of digits, the chapter's main model."""
