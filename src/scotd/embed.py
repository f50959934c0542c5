"""Texts as vectors, by a sentence-transformers model: what `filters.diverse` measures distance by."""

from collections.abc import Sequence

from sentence_transformers import SentenceTransformer

from scotd.device import pick_device
from scotd.errors import ModelError
from scotd.models import ModelFiles


class Embedder:
    """A sentence-embedding model in memory. Raises ModelError where the files hold none."""

    def __init__(self, files: ModelFiles) -> None:
        try:
            self._model = SentenceTransformer(
                files.pretrained, device=str(pick_device()), model_kwargs={"use_safetensors": True}
            )
        except (OSError, ValueError, KeyError) as error:
            problem = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"{files.reference}: no sentence-embedding model can be loaded: {problem}") from None

    def encode(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """A vector a text, of length 1."""
        found = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return [tuple(float(value) for value in vector) for vector in found]
