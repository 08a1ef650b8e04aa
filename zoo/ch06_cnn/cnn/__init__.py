"""The book's convolutional network, the chapter's main model."""
