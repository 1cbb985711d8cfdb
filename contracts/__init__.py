"""Compiled contracts, as package data; the Solidity sources are beside them."""
