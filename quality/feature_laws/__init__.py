"""Laws that every feature keeps, tried on streams and tables, with cheats planted to show that they would be seen."""
