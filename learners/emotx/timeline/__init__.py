"""What EmoTx says of a clip over time, and what it attends to; as numbers and as pictures."""
