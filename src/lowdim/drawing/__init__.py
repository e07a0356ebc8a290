"""What figures and pages are made of: tables of results, one house style, generic pictures.

Nothing here is imported eagerly; a page reads tables without loading matplotlib.
"""
