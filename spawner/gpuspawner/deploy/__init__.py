"""What the playbooks in ``ansible/`` ask for on the machine that runs them, before they touch the server.

Needs pydantic, PyYAML and python-dateutil of all that the project needs, so that the environment of Ansible
stays small: ``python -m gpuspawner.deploy``.
"""
