"""`feedback`: a customer's remark, and one aspect asked about. Was the customer pleased with it?

    A restaurant guest wrote: "The duck was dry and badly burnt, but the waiter was charming." Was the guest pleased
    with the food?                                              pleased | *not pleased* | not said

The remarks are composed from several hundred clauses written for this project (`fragments/*.toml`, one file a domain);
each clause is tagged with the aspect it speaks of, praise or complaint, manner and pool, so the gold label is true by
construction. Most remarks hold a praise and a complaint, so that the words of the remark alone do not give the answer:
the aspect asked about does.

    train, dev, pilot   six domains; each pool has clauses of its own
    test                the same six domains, clauses that train never shows
    contrast            each test item minimally changed so that the answer changes (after Gardner et al. 2020, paper
                        3.4): the opinion turned, or another aspect asked about; `pair` names the test item
    unseen              three domains that train never shows

Use `load()`; it takes some 0.1 s and reads no other file than those of this folder.
"""

from scotd.tasks.feedback.generate import load

__all__ = ["load"]
