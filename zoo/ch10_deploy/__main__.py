"""Chapter 10: a trained model exported, served, and spread over machines.

Begin with `export ch06_cnn` (the newest run), then `serve runs/ch06_cnn/TIME/export --open` and
look at http://127.0.0.1:8000. `keys add NAME` makes an API key, `load-test` and `abuse` try a
server out. `launch` trains with several processes, `batch` classifies files shard by shard, `cost`
compares machines.
"""

from zoo.ch10_deploy import commands
from zoo.ch10_deploy.launch_commands import batch, cost, launch
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
            "load-test": commands.load_test,
            "abuse": commands.abuse,
            "launch": launch,
            "batch": batch,
            "cost": cost,
        },
    )
