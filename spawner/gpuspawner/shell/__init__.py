"""What an administrator types: one module for each subject, all over the ledger and the use cases."""
