"""Many runs of a grid of settings with several seeds.

- ``definition``  the sweep file
- ``runner``      its runs, each in a process
- ``report``      the settings compared
- ``learning``    iterations until a metric reaches a value
"""
