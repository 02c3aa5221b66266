"""The table of ratios beside nats-server: ``make bench``.

``load.c`` and its neighbours are the load generator, ``loads`` the declaration of what is measured and
what is wanted, ``servers`` starts both servers under one configuration, ``rounds`` takes turns between
them, ``ratios`` judges and ``report`` prints and keeps the result. Absolute figures drift with the
machine and the hour; ratios of runs that follow each other do not, so only ratios are judged.
"""
