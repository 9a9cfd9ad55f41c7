# The Dockerfile of every image that has none of its own: a lock file's packages on top of the parent.
# Which image it is comes last, so that another title does not install everything again.
ARG PARENT
FROM ${PARENT}

USER 0:0
RUN --mount=type=bind,source=requirements.lock,target=/run/requirements.lock \
    --mount=type=secret,id=pip --mount=type=secret,id=ca \
    --mount=type=cache,id=gpuspawner-pip,target=/root/.cache/pip \
    gpuspawner-install /run/requirements.lock
ARG NAME
ARG TITLE
RUN gpuspawner-install --as "$NAME" --title "$TITLE"
USER 1000:1000
