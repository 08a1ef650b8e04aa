"""Chapter 10: a trained model exported, served, spread over machines.

`from zoo import ch10_deploy as deploy`, then
`deploy.load("exports/cnn").predict("classes", {"image": images})`.
"""

from zoo.ch10_deploy.export import Exported, ExportError, export_run, load
