"""The networks that make EmoTx' features, in plain torch, with the names of tensors that their published files have.

A classifier that a published network ends in is kept, so that its file fits as it is; `forward` returns the features before it.
"""
