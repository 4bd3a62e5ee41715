"""The wire contract: `telos.proto`, the stubs generated from it, arrays and messages.

After a change of the contract: `make stubs`.
"""
