"""The table of ratios beside nats-server: ``make bench``.

``load.c`` and its neighbours are the load generator, ``loads`` and ``stream_loads`` the declaration of what
is measured and what is wanted, ``servers`` starts both servers under one configuration, ``stages`` and
``large`` bring streams to where a load finds them, ``weights`` reads memory and device writes, ``rounds``
takes turns between the servers, ``ratios`` judges and ``report`` prints and keeps the result. Absolute
figures drift with the machine and the hour; ratios of runs that follow each other do not, so only ratios
are judged.
"""
