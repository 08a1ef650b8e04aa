"""The feed-forward network, the chapter's main model, whose functions the chapter has."""
