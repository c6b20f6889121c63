"""A model-service without feature engineering: it trains on finished datasets and predicts from finished vectors."""
