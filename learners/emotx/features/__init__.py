"""From a video to what EmoTx sees: backbones, faces and who they are, subtitles, and files of features."""
