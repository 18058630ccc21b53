"""The proximal Newton method behind `cbm.solvers`, one idea a file.

`descent` goes round: it certifies (`certificate`), chooses the weights that may move, and improves them first class by
class (`class_steps`, with the exact solver of small lasso problems in `lasso`) and near the optimum all together
(`joint_steps`). `problem` and `losses` say what is minimised; `iterate` holds what moves.
"""
