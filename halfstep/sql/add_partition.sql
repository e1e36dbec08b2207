-- One day of one table.
SELECT halfstep.add_partition(%(parent)s, %(column_name)s, %(day)s::date) AS added
