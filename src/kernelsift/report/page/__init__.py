"""report.html: one page with the charts, tables and worst disagreements of a run."""
