"""Blind comparison of chains by people: is one student's reasoning better than another's, or than the teacher's?

study.py     the values
sources.py   run folders and corpora -> one text a question from each side
measures.py  how many items are needed; agreement
draw.py      pairs -> items, by sample and task
new.py       all of it as a study's file
order.py     what a rater sees, in which order
store.py     the file: items, raters, every vote ever cast
app.py       the pages on which raters judge
model.py     a language model asked the same, in both orders; never mixed into the people's numbers
results.py   votes -> numbers;  page.py  numbers -> HTML, JSON, plot
"""
