"""Filters: a boolean expression over the attributes of items, from text to the rows that it selects.

A filter selects the items that the same WHERE clause of SQL would: a test on a null is neither true nor false, so is
its `not`, and an item is selected when the whole is true. `docs/tenants/filters.md` says it for users.

    limits      how large a filter may be
    grammar     text to syntax: which words stand where
    parsing     syntax to tree: names, forms and literals against the schema
    tree        the filter itself; knows no engine and no Arrow, so that an adapter can translate it
    truth       tree to truth values, over Arrow columns
    matcher     text to rows of one version, remembered
"""
