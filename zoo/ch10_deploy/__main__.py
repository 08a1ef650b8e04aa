"""Chapter 10: a trained model exported, served, and spread over machines.

Begin with `export ch06_cnn/speedrun` (the newest run, or the published model), then `serve FOLDER
--open` with the folder that it prints, and look at http://127.0.0.1:8000. Every model of the zoo
can be exported and served. `keys add NAME` makes an API key. `launch` trains with several
processes, `batch` classifies any number of images with Ray.
"""

from zoo.ch10_deploy import batch, commands, launch
from zoo.common import cli

if __name__ == "__main__":
    cli.main(
        __doc__,
        {
            "export": commands.export,
            "serve": commands.serve,
            "keys": {
                "add": commands.keys_add,
                "list": commands.keys_list,
                "revoke": commands.keys_revoke,
            },
            "launch": launch.run,
            "batch": batch.run,
        },
    )
