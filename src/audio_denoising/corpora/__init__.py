"""The data room: find recordings, split them honestly, mix speech with noise, feed training."""
