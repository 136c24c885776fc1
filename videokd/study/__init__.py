"""Studies: many variants of one experiment under several seeds, with statistics and a page.

Start reading at ``study``, which plans the trainings; ``work`` runs them, ``output`` writes the
results.
"""
