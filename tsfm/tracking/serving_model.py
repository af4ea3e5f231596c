"""The file that MLflow runs to load a served model ("models from code")."""

from mlflow.models import set_model

from tsfm.tracking.serving import ServedForecaster

set_model(ServedForecaster())
