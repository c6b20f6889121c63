"""Recordings, played at their own pace or as fast as possible."""
