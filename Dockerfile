# One image for web processes, workers and migrations; docker-compose.yml says which is which.
FROM python:3.11.16-slim-bookworm AS packages
COPY requirements.txt constraints.txt ./
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.txt -c constraints.txt
# What the page loads from npm, by an npm that stays behind.
COPY package.json package-lock.json .npmrc /page/
COPY scripts/front_end.py /page/scripts/
RUN python -m venv /npm \
 && /npm/bin/python /page/scripts/front_end.py \
 && test -f /page/node_modules/.installed

FROM python:3.11.16-slim-bookworm
# /data is for the embedded default: with DATABASE_URL and SECRET_KEY given, nothing is kept there.
RUN groupadd --system --gid 10001 tokenwire \
 && useradd --system --uid 10001 --gid tokenwire --home-dir /app --no-create-home --shell /usr/sbin/nologin tokenwire \
 && install --directory --owner tokenwire --group tokenwire /data
COPY --from=packages /venv /venv
COPY --from=packages /page/node_modules /app/node_modules
WORKDIR /app
# What .dockerignore lets in. It stays root's: the process can read its code, not change it.
COPY . .
ENV PATH=/venv/bin:$PATH
ENV PYTHONUNBUFFERED=1
ENV PYTHONDONTWRITEBYTECODE=1
ENV CHAT_ENV_FILE=
ENV CHAT_DATA_DIR=/data
ENV SERVER=uvicorn
ENV HOST=0.0.0.0
ENV PORT=8000
RUN python -m compileall -q chat config \
 && SECRET_KEY=unused CHAT_DATA_DIR=/tmp python manage.py check
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-SI", "scripts/health.py", "live"]
CMD ["python", "manage.py", "serve"]
