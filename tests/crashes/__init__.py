"""The crash matrix: the golden path under kill -9 at every effect and every state write, alone and in pairs."""
