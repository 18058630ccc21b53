"""Questions asked of an encoder or of a concept model: how good, how sparse, how calibrated, and can it be trusted."""
