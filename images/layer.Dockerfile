# The Dockerfile of every image that has none of its own: the packages of its lock file on top of its parent.
ARG PARENT
FROM ${PARENT}

RUN --mount=type=bind,source=requirements.lock,target=/run/requirements.lock \
    --mount=type=secret,id=pip --mount=type=secret,id=ca \
    --mount=type=cache,id=gpuspawner-pip,target=/root/.cache/pip \
    gpuspawner-install /run/requirements.lock
