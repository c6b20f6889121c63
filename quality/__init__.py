"""Data quality: checks, reports and expectations."""
