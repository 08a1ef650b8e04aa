"""Agents that each learn one maze by a DQN, the chapter's main model."""
