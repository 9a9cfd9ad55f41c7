"""What people see: one module for each page, and what all of them share.

A page is a row of :mod:`~gpuspawner.controller.pages.table`: a path, what loads its model (``views/`` makes
it, without I/O), and its templates. What its buttons do are rows there too.
"""
