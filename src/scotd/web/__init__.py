"""What the pages that scotd serves have in common: one look with the report, headers that forbid everything but
themselves, and a server on this machine.

app.py     a FastAPI application: its host check, headers, errors, style sheet
pages.py   templates, with every text of others made harmless
serve.py   the server, until Ctrl-C
"""
