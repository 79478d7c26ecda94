"""The use cases: boot, drive, harm, collect, judge, record."""
