"""The corpus browser: chains, what selections made of them, and what students answered, in a browser.

    scotd browse runs/mine          its corpus, selections and answers
    scotd browse chains.sqlite      a corpus alone

library.py   a corpus with the runs and the study that go with it, opened
search.py    a query over a million chains, answered within a second
marking.py   the words in which a chain differs from another
question.py  one question with everything that was written about it
app.py       the pages
"""
