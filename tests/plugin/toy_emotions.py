"""A learner of another package, as small as the contract allows: one linear layer for emotion and affect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emotion_perception.engine.cards import CropSpec, InputSpec, ModelCard
from emotion_perception.engine.errors import unknown_name
from emotion_perception.engine.learners import Learner
from emotion_perception.engine.target import Emotions


class ToyLearner(Learner):
    card = ModelCard("toy", "One linear layer", "face", InputSpec(16, 16), "affectnet8", "Apache-2.0", "none", affect=True, crop=CropSpec())
    output_names = ("logits", "affect")

    def __init__(self, *, epochs=3, lr=0.1, seed=0, batch_size=4, **common):
        super().__init__(batch_size=batch_size, **common)
        self.epochs, self.lr, self.seed = epochs, lr, seed

    def build_model(self, card):
        import torch

        class Linear(torch.nn.Linear):
            def forward(self, x):
                y = super().forward(x.flatten(1) - 0.5)
                return y[:, :8], torch.tanh(y[:, 8:])

        return Linear(3 * 16 * 16, 10).eval()

    def emotions(self, outputs):
        e = np.exp(outputs["logits"] - outputs["logits"].max(axis=1, keepdims=True))
        return Emotions(self.card.label_set, e / e.sum(axis=1, keepdims=True), outputs["affect"])

    def fit(self, dataset=None, val_dataset=None, logging_path="", silent=True, verbose=True):
        import torch

        from emotion_perception.engine.training.distributed import Processes
        from emotion_perception.engine.training.logs import RunLog
        from emotion_perception.engine.training.loop import Stage, Trainer
        from emotion_perception.engine.training.pictures import Pictures

        torch.manual_seed(self.seed)
        model = self.model if self.loaded else self.build_model(self.card)
        pictures, device = Pictures(dataset, self.batch_size), torch.device("cpu")

        def loss(batch, generator):
            logits, affect = model(batch[0])
            error = torch.nn.functional.cross_entropy(logits, batch[1]) + (affect - batch[2]).square().mean()
            return error, {}

        stage = Stage(
            name="all",
            epochs=self.epochs,
            order=lambda epoch: np.random.default_rng((self.seed, epoch)).permutation(pictures.labelled),
            load=lambda numbers, epoch: pictures.batch(numbers, 16),
            loss=loss,
            optimizer=torch.optim.SGD(model.parameters(), self.lr),
            rate=lambda progress: 1.0,
            prepare=model.train,
            validate=dict,
        )
        folder = Path(logging_path) if logging_path else None
        run = {"log": RunLog(folder, tensorboard=False), "folder": folder, "device": device, "processes": Processes()}
        history = Trainer(model, [stage], batch_size=self.batch_size, seed=self.seed, **run).run()
        self._use(model)
        return {"history": history}

    def eval(self, dataset: Any = None):
        from emotion_perception.engine.evaluation import measure, outputs_over

        return measure(self.emotions(outputs_over(self, dataset)), dataset.targets)

    def download(self, path=None, mode="pretrained", url=None):
        raise unknown_name("download mode", mode, ())
