"""The rules of docs/spec in plain Python: literal, slow, and meant to be read beside the pages.

One module for each page. Nothing here is tuned and nothing that runs imports it: it exists to be compared
with the fast path, with Solidity and, through the golden vectors, with writings in other languages. It needs
only the standard library; where the chain wants keccak256, a function gives the bytes that are to be hashed.
"""
