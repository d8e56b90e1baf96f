"""Indexes: nearest neighbours among vectors."""

import os

# faiss's threads wait for each other by spinning, which keeps the cores from those they wait for as soon as
# anything else runs, such as a service beside a build.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
